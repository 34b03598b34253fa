// Port 0x61, system control port B: the timer's channel 2, the speaker, and NMI causes that never come.
import type { Bus } from '../bus.js';
import type { Pit } from './pit.js';

const GATE2 = 0x01;
const WRITABLE = 0x0f; // gate, speaker, and the enables of parity and channel check
const REFRESH = 0x10;
const OUT2 = 0x20;

export function connectPort61(ports: Bus, pit: Pit): void {
  let written = 0;
  pit.gate2 = false;
  ports.add(0x61, 1, {
    read: () => written | (pit.refresh ? REFRESH : 0) | (pit.out2 ? OUT2 : 0),
    write: (_, value) => {
      written = value & WRITABLE;
      pit.gate2 = (value & GATE2) !== 0;
    },
  });
}
