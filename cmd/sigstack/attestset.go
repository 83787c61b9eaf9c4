package main

import (
	"context"
	"path/filepath"
	"strings"

	"sigstack/internal/signing"
)

// signedSet is what attest did for several artifacts at once.
type signedSet struct {
	Subjects int    `json:"subjects"`
	Bundle   string `json:"bundle"`
	signing.Result
}

// attestSet signs one statement about several artifacts, files or images by digest:
// such as the provenance of all that one build made. It goes into a file.
func (a *app) attestSet(ctx context.Context, s attestFlags, args []string) error {
	if err := s.checkSet(args); err != nil {
		return err
	}
	to := s.place("")
	types, predicate, err := a.statementOf(s)
	if err != nil {
		return err
	}
	session, err := s.session(ctx, a)
	if err != nil {
		return err
	}
	subjects := make([]signing.Subject, len(args))
	for i, arg := range args {
		if subjects[i], err = subjectNamed(arg); err != nil {
			return err
		}
	}
	statement, err := signing.NewStatement(subjects, types[0], predicate)
	if err != nil {
		return usagef("%w", err)
	}
	signed, err := session.SignStatement(ctx, statement)
	if err != nil {
		return err
	}
	if err := to.write(signed.JSON); err != nil {
		return err
	}
	a.noteSigned("one attestation of all that is named", signed.Result)
	a.result([]signedSet{{len(args), to.path, signed.Result}}, func() { a.printf("%s\n", to.path) })
	return nil
}

// checkSet is check for several artifacts.
func (s attestFlags) checkSet(args []string) error {
	switch {
	case s.bundle == "":
		return usagef("--bundle is needed with several artifacts: their one statement has no place of its own")
	case s.style != "":
		return usagef("--storage is for one image; the statement about several artifacts goes into a file")
	}
	if err := s.checkFlags(); err != nil {
		return err
	}
	inputs := []string{s.predicate}
	for _, arg := range args {
		if isImage(arg) {
			if _, err := imageSubject(arg); err != nil {
				return err
			}
			continue
		}
		if err := wantFile(arg); err != nil {
			return err
		}
		inputs = append(inputs, arg)
	}
	return s.place("").check(inputs...)
}

// subjectNamed is a file with its digest, or an image with the one in its name.
func subjectNamed(arg string) (signing.Subject, error) {
	if isImage(arg) {
		return imageSubject(arg)
	}
	digests, err := fileDigests(arg)
	if err != nil {
		return signing.Subject{}, err
	}
	return subjectOf(filepath.ToSlash(arg), digests["sha256"]), nil
}

// imageSubject reads oci://REPOSITORY@sha256:HEX; no registry is asked.
func imageSubject(arg string) (signing.Subject, error) {
	name, hex, ok := strings.Cut(strings.TrimPrefix(arg, imagePrefix), "@sha256:")
	if err := wantTarget(arg); err != nil {
		return signing.Subject{}, err
	}
	if !ok {
		return signing.Subject{}, usagef("%s: an image has to be named by its digest here: oci://REGISTRY/NAME@sha256:…", arg)
	}
	return signing.Subject{Name: name, Digest: map[string]string{"sha256": hex}}, nil
}
