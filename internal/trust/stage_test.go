package trust_test

import (
	"testing"
	"time"

	"sigstack/internal/trust"
)

func TestStageOf(t *testing.T) {
	const year = 360 * 24 * time.Hour
	for _, tt := range []struct {
		life, left time.Duration
		want       trust.Stage
		word       string
	}{
		{year, year, trust.Fresh, "fresh"},
		{year, year/3 + 1, trust.Fresh, "fresh"},
		{year, year / 3, trust.Ageing, "ageing"},
		{year, year/10 + 1, trust.Ageing, "ageing"},
		{year, year / 10, trust.Ending, "ending"},
		{year, 1, trust.Ending, "ending"},
		{year, 0, trust.Expired, "expired"},
		{year, -year, trust.Expired, "expired"},
		{0, 1, trust.Fresh, "fresh"},
		{0, 0, trust.Expired, "expired"},
	} {
		if got := trust.StageOf(tt.life, tt.left); got != tt.want || got.String() != tt.word {
			t.Errorf("%v of %v: got %v, want %v", tt.left, tt.life, got, tt.word)
		}
	}
}
