package maintenance

import "time"

// SetWall gives the board a clock of this machine that is wrong. Call it before
// anything else.
func (b *Board) SetWall(wall func() time.Time) {
	b.wall = wall
	b.began = wall()
}
