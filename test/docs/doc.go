// Package docs holds the pages that the programs themselves can write against what they say: docs/metrics.md.
package docs
