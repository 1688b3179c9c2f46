// @lockstep class5_destination=2001
import axios from 'axios';
import cxC5Server, { cxC5Server as Server } from 'cxC5Server';
import cxRest, { auth } from 'cxRest';
import { kv } from 'cxKV';
import { EventEmitter } from 'node:events';
import { greeting } from 'sibling';

const ctx: Ctx = new cxC5Server(process.env.CORRELATION_ID);
const file: string = greeting('en');
await ctx.answer();

class Menu extends EventEmitter {
  timer: NodeJS.Timeout = setTimeout(() => this.emit('late'), 5_000);
  held: Buffer = Buffer.from('held');
}

export async function main(data: CallData): Promise<void> {
  const { caller } = (await axios.get(`https://crm.example.net/${data.from}`)).data;
  await kv.set(caller, new Menu().held.toString('hex'), 60);
  await Promise.all([cxRest.auth('ops').get('/calls'), auth().get('/calls'), new Server().play(file)]);
}

export async function onData(message: string) {
  const { send } = await import('cxWebSocket');
  await send(message.toUpperCase());
}
