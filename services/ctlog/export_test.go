package ctlog

// KnownChains is how many chains the log recognizes by itself now.
func (s *Service) KnownChains() int {
	in := s.current.Load()
	in.known.mu.Lock()
	defer in.known.mu.Unlock()
	return len(in.known.list)
}
