// Package process runs the parties of the bench as processes of their own and reads what they cost, from Linux's /proc
// while they run and from the kernel's final account once they have ended.
package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tick is the unit of CPU times in /proc (USER_HZ is 100 on every Linux that Go runs on).
const tick = 10 * time.Millisecond

// Usage is what a process has cost so far.
type Usage struct {
	// CPU is user and system time.
	CPU time.Duration
	// RSS is the resident memory now, Peak the most it ever was; bytes.
	RSS, Peak int64
}

// Process is a running program.
type Process struct {
	// Name is for messages.
	Name string

	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{}
	mu    sync.Mutex
	final Usage
}

// Config says what to start.
type Config struct {
	Name string
	Path string
	Args []string
	// Env is added to an environment that holds nothing else but PATH and HOME.
	Env []string
	// Log takes its standard error, and its standard output unless that is read for the address.
	Log *os.File
}

// Start starts a program.
func Start(c Config) (*Process, error) {
	p, err := prepare(c)
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = c.Log
	if err := p.start(); err != nil {
		return nil, err
	}
	return p, nil
}

// StartServer starts a program that serves, and returns the first line that it prints: its address.
func StartServer(c Config) (*Process, string, error) {
	p, err := prepare(c)
	if err != nil {
		return nil, "", err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, "", fmt.Errorf("start %s: %w", c.Name, err)
	}
	if err := p.start(); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.Stop(0)
		return nil, "", fmt.Errorf("%s ended before it served: see its log in %s", c.Name, c.Log.Name())
	}
	return p, strings.TrimSpace(line), nil
}

func prepare(c Config) (*Process, error) {
	cmd := exec.CommandContext(context.Background(), c.Path, c.Args...) //nolint:gosec // to start programs is what it is for
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, c.Env...)
	cmd.Stderr = c.Log
	// A group of its own: Ctrl-C reaches the bench alone, which then stops the others in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	return &Process{Name: c.Name, cmd: cmd, stdin: stdin, done: make(chan struct{})}, nil
}

func (p *Process) start() error {
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // what it has to say is in its log; its end is seen by Ended
		p.mu.Lock()
		defer p.mu.Unlock()
		p.final.CPU = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
		if usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			p.final.Peak = usage.Maxrss << 10
		}
	}()
	return nil
}

// Ended is closed when the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.done }

// Usage is what it costs or, once it has ended, has cost.
func (p *Process) Usage() Usage {
	select {
	case <-p.done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.final
	default:
	}
	u, err := Of(p.cmd.Process.Pid)
	if err != nil { // it ended in between
		<-p.done
		return p.Usage()
	}
	return u
}

// Stop ends it with SIGTERM, or with SIGKILL once patience is over, and returns how long it took.
func (p *Process) Stop(patience time.Duration) (took time.Duration, killed bool) {
	began := time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		killed = true
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	_ = p.stdin.Close()
	return time.Since(began), killed
}

// Of reads what a process costs.
func Of(pid int) (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	// The name in parentheses may hold anything; the fields behind it are numbers: utime and stime are 14 and 15.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 || fields[0] == "Z" {
		return Usage{}, errors.New("the process has ended")
	}
	var u Usage
	for _, text := range fields[11:13] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return Usage{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		u.CPU += time.Duration(n) * tick
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Usage{}, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "VmRSS":
			u.RSS = kilobytes(value)
		case "VmHWM":
			u.Peak = kilobytes(value)
		}
	}
	return u, nil
}

func kilobytes(text string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
	return n << 10
}

// Machine reads how long the machine's processors have been busy, by all processes together.
func Machine() time.Duration {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	var busy time.Duration
	for i, text := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal …: guests are counted as user already.
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		n, _ := strconv.ParseInt(text, 10, 64)
		busy += time.Duration(n) * tick
	}
	return busy
}
