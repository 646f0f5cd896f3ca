package incidents

import "time"

// Look looks at the ongoing incidents now.
func (l *Log) Look() {
	l.looking.Lock()
	defer l.looking.Unlock()
	l.look()
}

// Wait waits until nothing is written any more.
func (l *Log) Wait() { <-l.files.done }

// Wake has the log write what has changed, soon.
func (l *Log) Wake() { l.files.wake() }

// Flush has the log write what has changed.
func (l *Log) Flush() {
	for {
		l.files.wake()
		l.mu.Lock()
		waiting := len(l.dirty)
		l.mu.Unlock()
		if waiting == 0 {
			return // the last one may be on its way
		}
		time.Sleep(time.Millisecond)
	}
}
