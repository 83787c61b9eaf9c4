package limit

// Len is how many buckets are kept.
func (k *Keyed) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.buckets)
}

// Has tells whether the key has a bucket of its own.
func (k *Keyed) Has(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.buckets[fold(key)]
	return ok
}

// LongestKey is the length of the longest key that is kept.
func (k *Keyed) LongestKey() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.buckets {
		n = max(n, len(key))
	}
	return n
}

// Users is how many users hold something.
func (s *Shares) Users() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.by)
}
