// Port 0x92, system control port A: the fast ways to switch A20 and to reset.
import type { Bus } from '../bus.js';

const RESET = 0x01;
const A20 = 0x02;

/** NVMM has no A20 gate, address line 20 is always on: the bit only remembers what was written. */
export function connectPort92(ports: Bus, reset: () => void): void {
  let written = A20;
  ports.add(0x92, 1, {
    read: () => written,
    write: (_, value) => {
      if ((value & RESET) !== 0 && (written & RESET) === 0) reset();
      written = value & (RESET | A20);
    },
  });
}
