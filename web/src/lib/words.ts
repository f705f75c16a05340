/** A message of the node as a sentence: a capital at the start, a full stop at the end. */
export function sentence(text: string): string {
  const trimmed = text.trim()
  const first = trimmed.charAt(0).toLocaleUpperCase() + trimmed.slice(1)
  return first === '' || /[.!?…]$/.test(first) ? first : `${first}.`
}
