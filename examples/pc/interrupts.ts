// Delivery of external interrupts to a VCPU, as NVMM leaves it to the frontend: the driver neither arbitrates nor waits.
import { Gpr, StateFlag, type Vcpu } from 'nvmm';

const RFLAGS_IF = 0x200;

/** Where interrupts come from: the PICs. */
export interface InterruptSource {
  /** An interrupt waits to be acknowledged. */
  readonly pending: boolean;
  /** Its vector; from then on it is in service. */
  acknowledge(): number;
}

/** What of a VCPU is used here. */
export type Interruptible = Pick<Vcpu, 'exit' | 'state' | 'eventWaiting' | 'getState' | 'setState' | 'inject'>;

/**
 * Gives interrupts to a VCPU when it can take them, and asks for the interrupt window when it can't. The PICs are wired to
 * the processor's INTR, for which the task priority (CR8) does not count.
 */
export class InterruptDelivery {
  readonly #vcpu: Interruptible;
  readonly #source: InterruptSource;

  constructor(vcpu: Interruptible, source: InterruptSource) {
    this.#vcpu = vcpu;
    this.#source = source;
  }

  /** The VCPU has interrupts enabled. */
  get enabled(): boolean {
    const { exitState } = this.#vcpu.exit;
    if (exitState.valid) return (Number(exitState.rflags) & RFLAGS_IF) !== 0;
    this.#vcpu.getState(StateFlag.GPRS);
    return (this.#vcpu.state.gprs32[2 * Gpr.RFLAGS]! & RFLAGS_IF) !== 0;
  }

  /** To be called before each run. */
  beforeRun(): void {
    if (this.#source.pending && this.#canInject()) {
      this.#vcpu.inject({ type: 'INTR', vector: this.#source.acknowledge() });
    }
    if (this.#source.pending) this.#openWindow();
  }

  #canInject(): boolean {
    const { exitState } = this.#vcpu.exit;
    // One event at a time: one that waits already, or that the last exit cut short and the driver delivers again, would be
    // lost.
    return !this.#vcpu.eventWaiting && !exitState.evtPending && !exitState.intShadow && this.enabled;
  }

  /** The next run ends as soon as the guest could take an interrupt. */
  #openWindow(): void {
    if (this.#vcpu.exit.exitState.intWindowExiting) return;
    this.#vcpu.getState(StateFlag.INTR);
    this.#vcpu.state.intr.intWindowExiting = true;
    this.#vcpu.setState(StateFlag.INTR);
  }
}
