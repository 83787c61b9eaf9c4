package pglog

import "github.com/jackc/pgx/v5/pgxpool"

// Readers lets tests ask the database what the driver does not tell.
func (s *Store) Readers() *pgxpool.Pool { return s.readers }
