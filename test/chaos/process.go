package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// program is what a process is started from.
type program struct {
	// name is for messages, and the log's: <dir>/<name>.log.
	name, dir  string
	path       string
	args, env  []string
	workingDir string
}

// process is a program that runs. It dies with the runner, however that ends.
type process struct {
	program
	cmd  *exec.Cmd
	done chan struct{}
}

// start starts a program with nothing in its environment but PATH, HOME and env. A log that is there is continued.
func (p program) start() (*process, error) {
	log, err := os.OpenFile(filepath.Join(p.dir, p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, p.env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.workingDir, log, log
	// A group of its own: Ctrl-C reaches the runner alone, which stops the others.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	running := &process{program: p, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(running.done)
		_ = cmd.Wait() // what it has to say is in its log
	}()
	return running, nil
}

func (p *process) signal(s syscall.Signal) {
	if p.alive() {
		_ = p.cmd.Process.Signal(s)
	}
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill is kill -9; it returns when the process is gone.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// stop is SIGTERM, and kill -9 when patience is over.
func (p *process) stop(patience time.Duration) error {
	p.signal(syscall.SIGCONT)
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		p.kill()
		return fmt.Errorf("%s did not stop within %v of SIGTERM and was killed", p.name, patience)
	}
}

// ports hands out ports of 127.0.0.1 that nobody listens on, below those that the system gives to clients and apart
// from those that scripts/real-parts takes. It begins anywhere, so that two runs at once do not meet.
type ports struct {
	mu   sync.Mutex
	last int
}

const firstPort, beyondPorts = 12000, 19000

func newPorts() *ports { return &ports{last: firstPort + rand.IntN(beyondPorts-firstPort)} }

func (p *ports) free() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range beyondPorts - firstPort {
		if p.last++; p.last >= beyondPorts {
			p.last = firstPort
		}
		// A cluster's node listens on a second port, 10,000 above.
		if unused(p.last) && unused(p.last+10000) {
			return p.last, nil
		}
	}
	return 0, errors.New("no port is free between 12000 and 19000")
}

func unused(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
