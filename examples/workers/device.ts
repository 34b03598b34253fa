// A Worker with the device of all processors: port 0x10 gives the next character of a text, port 0x11 takes one.
import { parentPort, workerData } from 'node:worker_threads';
import { Ports } from './ports.js';

export interface DeviceData {
  readonly ports: SharedArrayBuffer;
  /** What each processor reads. */
  readonly texts: readonly string[];
}

const NEXT = 0x10;
const ECHO = 0x11;

const { ports, texts } = workerData as DeviceData;
const position = texts.map(() => 0);
const echoed = texts.map(() => '');
let reading = texts.length;

new Ports(ports).serve(({ processor, port, write, value }) => {
  if (port === ECHO && write) {
    echoed[processor] = echoed[processor]! + String.fromCharCode(value).toUpperCase();
    return 0;
  }
  if (port !== NEXT || write) return 0xff;
  const character = texts[processor]!.charCodeAt(position[processor]!++);
  if (!Number.isNaN(character)) return character;
  return --reading === 0 ? undefined : 0; // the end of a text: 0; of the last one: nothing more to serve
});
parentPort!.postMessage(echoed);
