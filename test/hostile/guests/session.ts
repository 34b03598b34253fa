// The main program of a process with one hostile guest: `session.js NAME VENDOR TURNS STOPS`. Prints a Report.
import { GUESTS, HostileGuest, type Name } from './guests.js';

export interface Report {
  /** Bytes by which the process has grown from after the first TURNS to after four times as many more. */
  growth: number;
  /** Milliseconds from a stop to the end of all runs: each time. */
  stops: number[];
  /** Processor time that the process has used in all of them, in milliseconds. */
  work: number;
  /** The same of as many stops, by turns, of the guest that only spins. */
  plainWork: number;
}

const [wanted, vendor, turns, stops] = process.argv.slice(2);
const name = GUESTS.find((guest) => guest === wanted);
if (name === undefined || (vendor !== 'amd' && vendor !== 'intel')) throw new Error('NAME VENDOR TURNS STOPS');

async function residentSize(): Promise<number> {
  // What natives hold is given back by the event loop, after the collection.
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await new Promise(setImmediate);
  }
  return process.memoryUsage().rss;
}

const guest = new HostileGuest(name, { vendor, timeSlice: 100_000 });
await guest.turns(Number(turns));
const before = await residentSize();
await guest.turns(4 * Number(turns));
const report: Report = { growth: (await residentSize()) - before, stops: [], work: 0, plainWork: 0 };
guest.close();

async function stop(guest: Name): Promise<{ time: number; work: number }> {
  const running = new HostileGuest(guest, { vendor: vendor as 'amd' | 'intel' });
  const stopped = running.runUntilStopped();
  while (!running.hasBegun) await new Promise(setImmediate);
  const [begin, used] = [performance.now(), process.cpuUsage()];
  running.stop();
  await stopped;
  const { user, system } = process.cpuUsage(used);
  const time = performance.now() - begin;
  running.close();
  return { time, work: (user + system) / 1000 };
}

for (let i = 0; i < Number(stops); i++) {
  report.plainWork += (await stop('spins')).work;
  const { time, work } = await stop(name);
  report.stops.push(time);
  report.work += work;
}
console.log(JSON.stringify(report));
