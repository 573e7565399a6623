package redisstore

import (
	"context"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// LogTo hands the lines that the client library would print to stderr to a logger, at level debug: whatever they tell
// reaches a caller as an error as well. The library has one log a process, so this is for main to call, once, before
// New. Only the lines' wording is logged: what is filled in may be of a server's making.
func LogTo(logger *slog.Logger) { redis.SetLogger(clientLog{logger}) }

type clientLog struct{ logger *slog.Logger }

// Printf implements the library's logger.
func (l clientLog) Printf(ctx context.Context, format string, _ ...any) {
	l.logger.DebugContext(ctx, "redis client", "line", format)
}
