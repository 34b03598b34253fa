// Guests that make one exit each, for rules about all of them.
import { CODE, type Guest } from '../system.js';

export interface ExitGuest {
  readonly reason: string;
  /** Machine code of real mode. */
  readonly code: string;
  /** What must be set before. */
  readonly prepare?: (guest: Guest) => void;
  /** Where RIP is after the exit. */
  readonly rip: number;
  /** Whether the guest makes the exit again when it is run again. */
  readonly again: boolean;
  /** The pieces that the exit leaves in the page. */
  readonly cached: bigint;
}

export const EXIT_GUESTS: readonly ExitGuest[] = [
  { reason: 'HALTED', code: '90 f4 ebfc', rip: CODE + 2, again: false, cached: 0n },
  { reason: 'IO', code: '90 e610 f4', rip: CODE + 1, again: true, cached: 0x17n },
  { reason: 'MEMORY', code: '8ed8 a20090 f4', rip: CODE + 2, again: true, cached: 0x17n, prepare: farData },
  { reason: 'RDMSR', code: '66b91b000000 0f32 f4', rip: CODE + 6, again: true, cached: 2n },
  { reason: 'WRMSR', code: '66b91b000000 0f30 f4', rip: CODE + 6, again: true, cached: 2n },
  { reason: 'MONITOR', code: '90 0f01c8 f4', rip: CODE + 1, again: true, cached: 0n },
  { reason: 'MWAIT', code: '90 0f01c9 f4', rip: CODE + 1, again: true, cached: 0n },
  { reason: 'INT_READY', code: 'fb 90 90 f4', rip: CODE + 2, again: false, cached: 0n, prepare: armWindow },
];

/** AX becomes DS in the guest's first instruction: a segment outside its memory. */
function farData(guest: Guest): void {
  guest.setRegisters('GPRS', { RAX: 0x7000n });
}

function armWindow(guest: Guest): void {
  guest.setRegisters('INTR', { 'INTR.int_window_exiting': 1n });
}
