// Package docs holds pages against what the programs say of themselves: docs/metrics.md and docs/settings.md.
package docs
