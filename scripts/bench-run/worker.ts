// A Worker that handles exits of a machine of its own, or does as long a piece of work that shares nothing for certain:
// as much as it is told to, then it says so.
import { parentPort } from 'node:worker_threads';
import { guestOf, handleExits, OUT_LOOP } from './exits.js';

const vcpu = guestOf(OUT_LOOP);
let state = 1;

parentPort!.on('message', ({ exits, steps }: { exits: number; steps: number }) => {
  handleExits(vcpu, exits);
  for (let i = 0; i < steps; i++) state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + i;
  parentPort!.postMessage(state);
});
