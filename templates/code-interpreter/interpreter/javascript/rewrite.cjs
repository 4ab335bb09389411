// A cell's source → a script: types removed, `import` and `export` replaced.
//
// Modules' syntax has no meaning in a script. What stays on its line stays there,
// so that positions in error messages remain the cell's.

'use strict'

const acorn = require('acorn')

const OPTIONS = {
  ecmaVersion: 'latest',
  sourceType: 'script',
  allowAwaitOutsideFunction: true,
  allowImportExportEverywhere: true,
  allowReturnOutsideFunction: true,
  allowHashBang: true,
}

function parse(code) {
  try {
    return acorn.parse(code, OPTIONS)
  } catch {
    return null
  }
}

/** The script, or the source itself where it cannot be read: running that says why. */
function rewrite(code, language) {
  let script = code
  let tree = language === 'typescript' ? null : parse(code)
  if (!tree) {
    const plain = withoutTypes(code)
    tree = plain === null ? parse(code) : parse(plain)
    if (tree && plain !== null) script = plain
  }
  if (isLiteral(script) || !tree) return isLiteral(script) ? `(${script})` : script
  return withoutModules(script, tree)
}

/** `{ a: 1 }` alone is meant as an object, as at Node's own prompt. */
function isLiteral(code) {
  return /^\s*\{/.test(code) && !/;\s*$/.test(code) && parse(`(${code}\n)`) !== null
}

function withoutTypes(code) {
  try {
    // Loaded with the first cell that needs it.
    const { transform } = require('sucrase')
    const options = { transforms: ['typescript'], keepUnusedImports: true, disableESTransforms: true }
    return transform(code, options).code
  } catch {
    return null
  }
}

function withoutModules(code, tree) {
  if (!/\b(import|export)\b/.test(code)) return code
  const edits = []
  const replace = (node, text, end = node.end) => edits.push({ start: node.start, end, text })
  for (const node of tree.body) {
    if (node.type === 'ImportDeclaration') replace(node, imported(node, code))
    else if (node.type === 'ExportAllDeclaration') replace(node, '')
    else if (node.type === 'ExportDefaultDeclaration') exported(node, replace)
    else if (node.type === 'ExportNamedDeclaration') {
      if (node.declaration) replace(node, '', node.declaration.start)
      else replace(node, '')
    }
  }
  visit(tree, (node) => {
    if (node.type === 'ImportExpression') edits.push({ start: node.start, end: node.start + 'import'.length, text: '__import' })
  })
  return apply(code, edits)
}

function exported(node, replace) {
  const { declaration } = node
  const named = declaration.id && /Declaration$/.test(declaration.type)
  replace(node, named ? '' : 'var __default = ', declaration.start)
}

/** `import a, { b as c } from 'm'` → `var { default: a, b: c } = await __import('m');` */
function imported(node, code) {
  const source = code.slice(node.source.start, node.source.end)
  const options = attributes(node, code)
  const load = `await __import(${source}${options})`
  const names = []
  const declarations = []
  for (const one of node.specifiers) {
    const local = one.local.name
    if (one.type === 'ImportNamespaceSpecifier') declarations.push(`${local} = ${load}`)
    else if (one.type === 'ImportDefaultSpecifier') names.push(`default: ${local}`)
    else names.push(`${code.slice(one.imported.start, one.imported.end)}: ${local}`)
  }
  if (names.length > 0) declarations.push(`{ ${names.join(', ')} } = ${load}`)
  const text = declarations.length > 0 ? `var ${declarations.join(', ')};` : `${load};`
  // A declaration over several lines leaves as many behind.
  const lines = code.slice(node.start, node.end).split('\n').length - text.split('\n').length
  return text + '\n'.repeat(Math.max(0, lines))
}

function attributes(node, code) {
  if (!node.attributes?.length) return ''
  const list = node.attributes.map((one) => code.slice(one.start, one.end)).join(', ')
  return `, { with: { ${list} } }`
}

function visit(node, see) {
  if (Array.isArray(node)) return node.forEach((one) => visit(one, see))
  if (!node || typeof node.type !== 'string') return
  see(node)
  for (const key of Object.keys(node)) {
    if (typeof node[key] === 'object') visit(node[key], see)
  }
}

function apply(code, edits) {
  let out = ''
  let at = 0
  for (const { start, end, text } of edits.sort((a, b) => a.start - b.start)) {
    // An `import()` inside a replaced statement went with it.
    if (start < at) continue
    out += code.slice(at, start) + text
    at = end
  }
  return out + code.slice(at)
}

module.exports = { rewrite }
