// Arguments of the modules' functions.
(function () {
  // A text; a number or the like is taken as it prints. What is missing must not become the text `undefined`.
  function text(label, name, value) {
    if (value === undefined || value === null || typeof value === 'object' || typeof value === 'symbol' || typeof value === 'function') {
      throw new TypeError(`${label}: \`${name}\` must be a string, got ${value === null ? 'null' : typeof value}`);
    }
    return String(value);
  }

  const optionalText = (label, name, value) => (value === undefined || value === null ? null : text(label, name, value));

  return { text, optionalText };
})
