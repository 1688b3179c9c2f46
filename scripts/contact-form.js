// @lockstep public=["main"]
// A contact form that sends e-mail by template: POST /v1/forms/contact-form, or /f/{uuid} from a web page. The page has its answer at once; a
// job sends the message, over and over until the mail server takes it. Settings: CONTACT_TO in the app's variables, `[email]` in lockstep.toml.

const { add } = require('cxJob');
const send = require('cxSend');

const ATTEMPTS = 8;
const MAX_TEXT = 4000;

const oneLine = (value) => String(value ?? '').replace(/\s+/g, ' ').trim().slice(0, 100);

async function main(form) {
  const name = oneLine(form.name);
  const email = oneLine(form.email);
  const text = String(form.text ?? '').trim();
  if (name === '' || text === '') throw '422 Name and text are needed';
  if (!/^[^\s@<>,;]+@[^\s@<>,;]+\.[^\s@<>,;]+$/.test(email)) throw '422 An e-mail address is needed';
  if (text.length > MAX_TEXT) throw `413 At most ${MAX_TEXT} characters`;
  const job = await add(process.env.SCRIPTFORGE_NAME, 'deliver', { name, email, text }, { attempts: ATTEMPTS });
  return { sent: true, job: job.id };
}

async function deliver({ name, email, text }) {
  const to = process.env.CONTACT_TO;
  if (!to) throw new Error('nobody to write to: set CONTACT_TO');
  return send.email({ to, reply_to: email, template: 'contact', vars: { name, email, text } });
}

module.exports = { main, deliver };
