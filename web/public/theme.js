// Runs before the first paint, so that a chosen theme never flashes; a file of its own because the
// content security policy forbids inline scripts.
try {
  const theme = localStorage.getItem('archy.theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // Storage may be forbidden; the system's theme then stands.
}
