package merkle

import "os"

// ReadHeadFile lets tests read a head file.
func ReadHeadFile(path string) (tree int64, h Head, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, Head{}, err
	}
	return decodeHead(content)
}
