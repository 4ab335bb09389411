// A value → the forms in which it is shown, by MIME type.
//
// An object says more about itself with the methods that Jupyter kernels for
// JavaScript know: `_toMime`, `_toHtml`, `_toSvg`, `_toPng`, `_toJpeg`, ….

'use strict'

const { inspect } = require('node:util')

const METHODS = [
  ['_toHtml', 'text/html'],
  ['_toMarkdown', 'text/markdown'],
  ['_toSvg', 'image/svg+xml'],
  ['_toPng', 'image/png'],
  ['_toJpeg', 'image/jpeg'],
  ['_toPdf', 'application/pdf'],
  ['_toLatex', 'text/latex'],
  ['_toJson', 'application/json'],
]

/** A bundle made by hand, not to be taken for a plain object. */
class Bundle {
  constructor(data) {
    this.data = data
  }
}

function own(value, name) {
  try {
    return typeof value[name] === 'function' ? value[name]() : undefined
  } catch {
    return undefined
  }
}

function bundle(value) {
  if (value instanceof Bundle) return value.data
  const data = { 'text/plain': inspect(value) }
  if (value === null || typeof value !== 'object') return data
  for (const [method, mime] of METHODS) {
    const shown = own(value, method)
    if (shown !== undefined) data[mime] = shown
  }
  return { ...data, ...own(value, '_toMime') }
}

/** JSON of a value's forms; nothing for `undefined`. */
function make(value) {
  return value === undefined ? undefined : display(value)
}

function display(value) {
  return JSON.stringify(bundle(value))
}

/** `$$.html('<b>x</b>')` as the last expression is a result in that form. */
const wrap = { mime: (data) => new Bundle(data) }
for (const [name, mime] of [
  ['text', 'text/plain'],
  ['html', 'text/html'],
  ['markdown', 'text/markdown'],
  ['svg', 'image/svg+xml'],
  ['png', 'image/png'],
  ['jpeg', 'image/jpeg'],
  ['pdf', 'application/pdf'],
  ['latex', 'text/latex'],
  ['json', 'application/json'],
  ['javascript', 'application/javascript'],
]) {
  wrap[name] = (value) => new Bundle({ [mime]: value })
}

module.exports = { display, make, wrap }
