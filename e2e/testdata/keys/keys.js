// Answers with the key that a Node application finds in the request, in the place
// that X-Source names: written with Express, with URL and URLSearchParams, or with
// the older url.parse and querystring, as X-Reader says.
const http = require('http')
const querystring = require('querystring')
const url = require('url')
const express = require('express')
const cookie = require('cookie')

const authorization = {
  bearer: (req) => {
    const [scheme, token] = (req.headers.authorization || '').split(' ')
    return /^bearer$/i.test(scheme) ? token : null
  },
  basic_user: (req) => {
    const [scheme, text] = (req.headers.authorization || '').split(' ')
    return /^basic$/i.test(scheme) && text ? Buffer.from(text, 'base64').toString().split(':')[0] : null
  },
}

const body = (req) => new Promise((resolve) => {
  const parts = []
  req.on('data', (part) => parts.push(part)).on('end', () => resolve(Buffer.concat(parts).toString()))
})

const own = (object) => object && typeof object === 'object' && Object.hasOwn(object, 'key') ? object.key : null

const readers = {
  urls: {
    query: (req) => new URL(req.url, 'http://localhost').searchParams.get('key'),
    header: (req) => req.headers['x-store'],
    form: async (req) => new URLSearchParams(await body(req)).get('key'),
    json: async (req) => own(JSON.parse(await body(req))),
    host_label: (req) => new URL('http://' + req.headers.host).hostname.split('.')[0],
    path_segment: (req) => decodeURIComponent(new URL(req.url, 'http://localhost').pathname.split('/')[2] || ''),
  },
  querystring: {
    query: (req) => own(url.parse(req.url, true).query),
    form: async (req) => own(querystring.parse(await body(req))),
  },
}

const app = express()
const find = {
  query: (req) => own(req.query),
  header: (req) => req.get('X-Store'),
  form: (req) => own(req.body),
  json: (req) => own(req.body),
  cookie: (req) => own(cookie.parse(req.headers.cookie || '')),
  host_label: (req) => req.hostname.split('.')[0],
  path_segment: (req) => req.params.key,
  ...authorization,
}
const answer = (req, res) => res.json({ key: find[req.get('X-Source')](req) ?? null })
app.use((req, res, next) => (req.get('X-Source') === 'json' ? express.json() : express.urlencoded({ extended: true }))(req, res, next))
app.all('/:first/:key', answer)
app.all('/:first/:key/(.*)', answer)
app.use(answer)
app.use((err, req, res, next) => res.json({ key: null }))

http.createServer(async (req, res) => {
  if (req.headers['x-reader'] === 'express') return app(req, res)
  let key = null
  try {
    key = await readers[req.headers['x-reader']][req.headers['x-source']](req)
  } catch (err) { /* it finds no key */ }
  res.setHeader('Content-Type', 'application/json')
  res.end(JSON.stringify({ key: key ?? null }))
}).listen(process.env.PORT, '127.0.0.1')
