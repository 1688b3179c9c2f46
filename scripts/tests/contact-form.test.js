import { test, expect, form, run } from 'lockstep:test';

const fields = { name: 'Ada Lovelace', email: 'ada@example.net', text: 'Hello,\nwho is there?' };

test('a form becomes a job', async () => {
  expect(await form('contact-form', fields)).toEqual({ sent: true, job: expect.any(Number) });
});

test.each([
  ['no name', { name: ' ' }, '422 Name and text are needed'],
  ['no text', { text: '\n' }, '422 Name and text are needed'],
  ['no address', { email: 'ada' }, '422 An e-mail address is needed'],
  ['two addresses', { email: 'ada@example.net, eve@example.net' }, '422 An e-mail address is needed'],
  ['a header', { email: 'ada@example.net\nBcc: eve@example.net' }, '422 An e-mail address is needed'],
  ['too much text', { text: 'x'.repeat(4_001) }, '413 At most 4000 characters'],
])('%s is refused', async (_, change, message) => {
  await expect(form('contact-form', { ...fields, ...change })).rejects.toThrow(message);
});

test('without CONTACT_TO the job says what to set', async () => {
  await expect(run('contact-form', 'deliver', fields)).rejects.toThrow('nobody to write to: set CONTACT_TO');
});
