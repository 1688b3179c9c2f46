// Whole numbers as stock prompts: 1205 is "one thousand two hundred and five". From a million on, digit by digit.

const rest = (number, before = []) => (number === 0 ? [] : [...before, ...words(number)]);

function words(number) {
  if (number <= 20) return [number];
  if (number < 100) return [number - (number % 10), ...rest(number % 10)];
  if (number < 1_000) return [Math.floor(number / 100), 'hundred', ...rest(number % 100, ['and'])];
  return [...words(Math.floor(number / 1_000)), 'thousand', ...rest(number % 1_000, number % 1_000 < 100 ? ['and'] : [])];
}

// The files to play. What is less than nothing, or no number, is told as 0.
export function spoken(number) {
  const whole = Math.min(Math.max(0, Math.floor(number) || 0), Number.MAX_SAFE_INTEGER);
  const said = whole < 1_000_000 ? words(whole) : [...String(whole)];
  return said.map((word) => `ivr/${word}.wav`);
}
