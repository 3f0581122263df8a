// Command tlogcheck verifies what Counterfoil signs and proves with Go's own packages,
// golang.org/x/mod/sumdb/note and tlog. It reads one JSON object per line from standard
// input and answers each with one; nothing of Counterfoil is linked in.
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Do      string
	Vkey    string
	Note    string
	Text    string
	Name    string
	Proof   string   // a whole .tlog-proof file
	Leaf    []byte   // an entry's exact bytes
	Leaves  [][]byte // all entries of a log
	Hashes  [][]byte // a bare proof
	Index   int64
	Old     int64
	OldRoot []byte
	New     int64
	NewRoot []byte
}

type answer struct {
	Ok          bool     `json:"ok"`
	Error       string   `json:"error,omitempty"`
	Text        string   `json:"text,omitempty"`
	Vkey        string   `json:"vkey,omitempty"`
	Root        []byte   `json:"root,omitempty"`
	Inclusion   [][]byte `json:"inclusion,omitempty"`
	Consistency [][]byte `json:"consistency,omitempty"`
}

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked question
		if err := json.Unmarshal(line, &asked); err != nil {
			out.Encode(answer{Error: err.Error()})
			continue
		}
		told, err := reply(asked)
		if err != nil {
			told = answer{Error: err.Error()}
		} else {
			told.Ok = true
		}
		out.Encode(told)
	}
}

func reply(q question) (answer, error) {
	switch q.Do {
	case "open":
		text, err := open(q.Note, q.Vkey)
		return answer{Text: text}, err
	case "sign":
		return sign(q)
	case "inclusion":
		return answer{}, checkInclusion(q)
	case "consistency":
		return answer{}, checkConsistency(q)
	case "prove":
		return prove(q)
	}
	return answer{}, fmt.Errorf("unknown question %q", q.Do)
}

func open(text, vkey string) (string, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return "", err
	}
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return "", err
	}
	return opened.Text, nil
}

func sign(q question) (answer, error) {
	secret, vkey, err := note.GenerateKey(rand.Reader, q.Name)
	if err != nil {
		return answer{}, err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return answer{}, err
	}
	signed, err := note.Sign(&note.Note{Text: q.Text}, signer)
	return answer{Text: string(signed), Vkey: vkey}, err
}

// checkInclusion reads a .tlog-proof by the text of its specification alone.
func checkInclusion(q question) error {
	parts := strings.SplitN(q.Proof, "\n\n", 2)
	if len(parts) != 2 {
		return errors.New("no checkpoint")
	}
	head := strings.Split(parts[0], "\n")
	if head[0] != "c2sp.org/tlog-proof@v1" || len(head) < 2 {
		return errors.New("no tlog-proof")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(head[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range head[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	text, err := open(parts[1], q.Vkey)
	if err != nil {
		return err
	}
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != strings.SplitN(q.Vkey, "+", 2)[0] {
		return errors.New("no checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return err
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, size, root, index, tlog.RecordHash(q.Leaf))
}

func checkConsistency(q question) error {
	proof, err := hashes(q.Hashes)
	if err != nil {
		return err
	}
	roots, err := hashes([][]byte{q.OldRoot, q.NewRoot})
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, q.New, roots[1], q.Old, roots[0])
}

// prove grows a log of Go's own and returns its root and proofs.
func prove(q question) (answer, error) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			found[i] = stored[at]
		}
		return found, nil
	})
	for n, leaf := range q.Leaves {
		more, err := tlog.StoredHashes(int64(n), leaf, reader)
		if err != nil {
			return answer{}, err
		}
		stored = append(stored, more...)
	}
	size := int64(len(q.Leaves))
	root, err := tlog.TreeHash(size, reader)
	if err != nil {
		return answer{}, err
	}
	told := answer{Root: root[:]}
	inclusion, err := tlog.ProveRecord(size, q.Index, reader)
	if err != nil {
		return answer{}, err
	}
	told.Inclusion = raw(inclusion)
	consistency, err := tlog.ProveTree(size, q.Old, reader)
	if err != nil {
		return answer{}, err
	}
	told.Consistency = raw(consistency)
	return told, nil
}

func hashes(given [][]byte) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, 0, len(given))
	for _, each := range given {
		hash, err := tlog.ParseHash(base64.StdEncoding.EncodeToString(each))
		if err != nil {
			return nil, err
		}
		found = append(found, hash)
	}
	return found, nil
}

func raw(hashes []tlog.Hash) [][]byte {
	found := make([][]byte, 0, len(hashes))
	for i := range hashes {
		found = append(found, hashes[i][:])
	}
	return found
}
