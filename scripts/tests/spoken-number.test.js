import { test, expect } from 'lockstep:test';
import { spoken } from 'spoken-number';

test.each([
  [0, '0'],
  [7, '7'],
  [20, '20'],
  [21, '20 1'],
  [60, '60'],
  [99, '90 9'],
  [100, '1 hundred'],
  [105, '1 hundred and 5'],
  [340, '3 hundred and 40'],
  [1_000, '1 thousand'],
  [1_001, '1 thousand and 1'],
  [1_100, '1 thousand 1 hundred'],
  [1_205, '1 thousand 2 hundred and 5'],
  [12_345, '12 thousand 3 hundred and 40 5'],
  [999_999, '9 hundred and 90 9 thousand 9 hundred and 90 9'],
  [1_000_000, '1 0 0 0 0 0 0'],
  [1e300, '9 0 0 7 1 9 9 2 5 4 7 4 0 9 9 1'],
  [2.9, '2'],
  [-5, '0'],
  [Number.NaN, '0'],
])('%d is %s', (number, said) => {
  expect(spoken(number)).toEqual(said.split(' ').map((word) => `ivr/${word}.wav`));
});
