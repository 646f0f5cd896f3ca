package caddymodule

// Messages, fields and event names that people build alerts on. Changing one
// is a breaking change.
const (
	logStarted            = "guarding the pool"
	logNoDirectory        = "no directory: every key is unknown, all requests share the limits of one zone"
	logZoneNotInDirectory = "a zone has settings, but the directory does not know it"
	logLongTimeout        = "the timeout is long"
	logDirectoryReloaded  = "directory reloaded"
	logDirectoryRefused   = "directory not reloaded: the new file is broken, the old table stays"
	logEventsDropped      = "transitions were lost: they came faster than event handlers took them"
	logEventHandlerPanic  = "an event handler panicked"
	logWebhookFailed      = "an event could not be posted to its webhook"
	logWebhookFull        = "an event was not posted to its webhook: the queue is full"

	logZoneTroubled     = "zone is in trouble"
	logZoneOpened       = "zone opened: its requests are refused, other zones are not affected"
	logZoneHalfOpen     = "zone is tried again: a growing number of its requests is let in"
	logZoneClosed       = "zone closed: its requests are let in again"
	logZoneCalm         = "zone is calm again: the episode is over"
	logStoreQuarantined = "store is in quarantine: its requests are refused"
	logStoreHalfOpen    = "store is tried again with one request"
	logStoreReleased    = "store is released from quarantine"
	logZoneHeld         = "zone's breaker is held by hand"
	logZoneUnheld       = "zone's breaker is no longer held by hand"
	logStoreHeld        = "store's breaker is held by hand"
	logStoreUnheld      = "store's breaker is no longer held by hand"
	logPoolSuspect      = "the pool itself is suspect: verdicts on zones are held back"
	logPoolTrusted      = "the pool is trusted again"
	logInternalError    = "firebreak has a bug and goes on; please report this line"

	logStateStale     = "the state backend cannot be read: the last known switches stay in force and cannot be changed"
	logStateSynced    = "the state backend can be read again"
	logStateRestored  = "the state backend had lost its switches: they were written back"
	logRecordsCorrupt = "the state backend holds records that cannot be read: they are left out"
	logSwitchSet      = "maintenance is on"
	logSwitchCleared  = "maintenance is off"
	logSwitchBegan    = "maintenance begins, as it was set ahead of time"
	logSwitchExpired  = "maintenance has ended, as it was set to"

	logIncidentsLost = "incidents cannot be kept on disk"
	logIncidentsKept = "incidents are kept on disk again"

	fieldZone     = "zone"
	fieldStore    = "store"
	fieldFrom     = "from"
	fieldTo       = "to"
	fieldEvidence = "evidence"
	fieldTurn     = "turn"
	fieldFor      = "for"
	fieldLive     = "live"
	fieldHung     = "hung"
	fieldObserve  = "observe"
	fieldEpisode  = "episode"
	fieldNext     = "next"
	fieldScope    = "scope"
	fieldMode     = "mode"
	fieldBy       = "by"
	fieldReason   = "reason"
	fieldUntil    = "until"
	fieldCount    = "count"
	fieldRevision = "revision"
	fieldDetail   = "detail"

	// eventPrefix stands before the kind of a transition in the names of Caddy
	// events: firebreak.zone_opened, firebreak.store_quarantined and so on.
	eventPrefix = "firebreak."
)
