// Delivery of interrupts to a VCPU, as NVMM leaves it to the frontend: the driver neither arbitrates nor waits.
import { Cr, Gpr, StateFlag, type InterruptState, type Vcpu } from 'nvmm';

const RFLAGS_IF = 0x200;
const NMI_VECTOR = 2;

/** Where a processor's interrupts come from: its local APIC. */
export interface InterruptSource {
  /** An interrupt waits to be acknowledged, and its priority suffices. */
  readonly pending: boolean;
  /** Its vector; from then on it is in service. */
  acknowledge(): number;
  /** An NMI waits; false once it is taken. */
  nmi: boolean;
  /** The task priority: CR8 is its upper half. */
  tpr: number;
}

/** What of a VCPU is used here. */
export type Interruptible = Pick<Vcpu, 'exit' | 'state' | 'eventWaiting' | 'getState' | 'setState' | 'inject'>;

/** Gives interrupts to a VCPU when it can take them, and asks for the interrupt window when it can't. */
export class InterruptDelivery {
  readonly #vcpu: Interruptible;
  readonly #source: InterruptSource;
  /** CR8 as the VCPU has it. */
  #cr8 = 0;

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

  /** Something waits that ends a HLT. */
  get wakes(): boolean {
    return this.#source.nmi || (this.#source.pending && this.enabled);
  }

  /** To be called before each run. */
  beforeRun(): void {
    const source = this.#source;
    if (source.tpr >> 4 !== this.#cr8) this.#writeCr8(source.tpr >> 4);
    if (source.nmi && this.#canInject() && !this.#intr.nmiWindowExiting) {
      source.nmi = false;
      this.#vcpu.inject({ type: 'INTR', vector: NMI_VECTOR });
    }
    if (source.pending && this.enabled && this.#canInject()) {
      this.#vcpu.inject({ type: 'INTR', vector: source.acknowledge() });
    }
    if (source.pending) this.#openWindow();
  }

  /** To be called after each run: the guest may have written CR8, of which AMD's processors tell in no other way. */
  afterRun(): void {
    const { exitState } = this.#vcpu.exit;
    if (!exitState.valid) return;
    const cr8 = Number(exitState.cr8) & 15;
    if (cr8 === this.#cr8) return;
    this.#cr8 = cr8;
    this.#source.tpr = cr8 << 4;
  }

  #writeCr8(cr8: number): void {
    this.#cr8 = cr8;
    this.#vcpu.getState(StateFlag.CRS);
    this.#vcpu.state.crs[Cr.CR8] = BigInt(cr8);
    this.#vcpu.setState(StateFlag.CRS);
  }

  /** A run that ended before it entered the guest tells nothing: the driver knows how it was left before. */
  get #intr(): Pick<InterruptState, 'intShadow' | 'evtPending' | 'intWindowExiting' | 'nmiWindowExiting'> {
    const { exitState } = this.#vcpu.exit;
    if (exitState.valid) return exitState;
    this.#vcpu.getState(StateFlag.INTR);
    return this.#vcpu.state.intr;
  }

  /**
   * One event at a time: one that waits already, or that the last exit cut short and the driver delivers again, would be lost.
   */
  #canInject(): boolean {
    const intr = this.#intr;
    return !this.#vcpu.eventWaiting && !intr.evtPending && !intr.intShadow;
  }

  /** The next run ends as soon as the guest could take an interrupt. */
  #openWindow(): void {
    if (this.#intr.intWindowExiting) return;
    this.#vcpu.getState(StateFlag.INTR);
    this.#vcpu.state.intr.intWindowExiting = true;
    this.#vcpu.setState(StateFlag.INTR);
  }
}
