// Package admin is firebreak's part of Caddy's admin API, and the dashboard in it.
//
// module.go has the list of routes, and each of the other files the routes about
// one thing. An API answers for one configuration and is given the parts of it, as
// interfaces of its own (parts.go); it does not know the app. The dashboard's files
// are in ui/; feed.go tells a dashboard what changes.
//
// docs/openapi.yaml describes every route, and a test compares.
package admin
