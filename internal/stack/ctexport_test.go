package stack

import "os"

// CheckCTLogs reports whether the content of ctlogs.json is taken, and what it is when
// it is written again.
func CheckCTLogs(dir string, data []byte) ([]byte, error) {
	list, err := decodeCTLogs(data)
	if err != nil {
		return nil, err
	}
	l := Layout{dir}
	if err := (&ctRecords{file: l.CTLogs()}).set(list); err != nil {
		return nil, err
	}
	return os.ReadFile(l.CTLogs())
}
