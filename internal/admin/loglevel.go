package admin

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// levelBytes is more than the longest level that anyone writes.
const levelBytes = 32

func (s *Server) showLevel(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, s.cfg.Level.Level())
}

// setLevel takes the level from the body and answers with what is in force. The change is logged at a level that is
// always shown, since it explains why later lines are there or not.
func (s *Server) setLevel(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, levelBytes))
	if err != nil {
		http.Error(w, fmt.Sprintf("the level is longer than %d bytes", levelBytes), http.StatusRequestEntityTooLarge)
		return
	}
	level, err := parseLevel(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	old := s.cfg.Level.Level()
	s.cfg.Level.Set(level)
	s.cfg.Log.Log(r.Context(), max(level, slog.LevelInfo), "log level set", "from", old.String(), "to", level.String())
	s.showLevel(w, r)
}

// parseLevel reads a level as slog writes it, in any case.
func parseLevel(body []byte) (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(strings.TrimSpace(string(body)))); err != nil {
		return 0, fmt.Errorf("the body must be debug, info, warn or error, with an offset if need be (info+2): %w", err)
	}
	return level, nil
}
