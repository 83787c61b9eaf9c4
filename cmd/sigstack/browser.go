package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// browserGrace is how long a browser's command may take to fail. One that still
// runs then is the browser itself.
const browserGrace = time.Second

// browserCommands returns the commands that may show url, the most wanted first.
// $BROWSER is a list with colons between, %s in a command stands for the URL.
// The error says why there is none.
func browserCommands(url, goos string, getenv func(string) string) ([][]string, error) {
	var commands [][]string
	for _, command := range strings.Split(getenv("BROWSER"), ":") {
		words := strings.Fields(command) // no shell: the URL is whatever an issuer names
		if len(words) == 0 {
			continue
		}
		named := false
		for i, word := range words {
			named = named || strings.Contains(word, "%s")
			words[i] = strings.ReplaceAll(word, "%s", url)
		}
		if !named {
			words = append(words, url)
		}
		commands = append(commands, words)
	}
	switch {
	case len(commands) > 0:
		return commands, nil
	case goos == "darwin":
		return [][]string{{"open", url}}, nil
	case goos == "windows":
		return [][]string{{"rundll32", "url.dll,FileProtocolHandler", url}}, nil
	case getenv("DISPLAY") == "" && getenv("WAYLAND_DISPLAY") == "":
		return nil, errors.New("there is no display")
	}
	return [][]string{{"xdg-open", url}}, nil
}

// openBrowser shows url in the user's browser, or says why it cannot.
func openBrowser(url string) error {
	commands, err := browserCommands(url, runtime.GOOS, os.Getenv)
	if err != nil {
		return err
	}
	var errs []error
	for _, words := range commands {
		if err := startBrowser(words); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", words[0], err))
			continue
		}
		return nil
	}
	return errors.Join(errs...)
}

// startBrowser starts a command and leaves it alone: a browser outlives us, and
// what it prints is not ours.
func startBrowser(words []string) error {
	cmd := exec.Command(words[0], words[1:]...) //nolint:gosec,noctx // G204: the user's own choice of a browser
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1) // whoever ends last, nobody waits
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(browserGrace):
		return nil
	}
}
