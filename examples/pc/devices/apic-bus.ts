// How interrupts travel between I/O APIC and local APICs: messages, and whom they are for (Intel SDM 3A, section 11.6.2).

/** Delivery modes, as the ICR and the redirection table encode them. */
export const Delivery = { FIXED: 0, LOWEST: 1, NMI: 4, INIT: 5, START_UP: 6, EXTERNAL: 7 } as const;

export interface ApicMessage {
  /** One of {@link Delivery}. */
  readonly mode: number;
  readonly vector: number;
  readonly level: boolean;
  /** An APIC id; in logical mode a set of them. 0xff: all. */
  readonly destination: number;
  readonly logical: boolean;
}

/** A local APIC as the others see it. */
export interface ApicTarget {
  /** Whether a message is for it. */
  isAddressed(destination: number, logical: boolean): boolean;
  /** PPR: messages of the lowest-priority mode go to the one with the least. */
  readonly priority: number;
  accept(mode: number, vector: number, level: boolean): void;
  /** An interrupt with this vector waits to be taken. */
  requested(vector: number): boolean;
}

export class ApicBus {
  readonly #targets: ApicTarget[] = [];
  /** Called when an interrupt that was triggered by level has been served. */
  onEoi: (vector: number) => void = () => undefined;

  add(target: ApicTarget): void {
    this.#targets.push(target);
  }

  get targets(): readonly ApicTarget[] {
    return this.#targets;
  }

  #addressed({ destination, logical }: ApicMessage): ApicTarget[] {
    return this.#targets.filter((target) => target.isAddressed(destination, logical));
  }

  send(message: ApicMessage): void {
    const { mode, vector, level } = message;
    const targets = this.#addressed(message);
    if (mode === Delivery.LOWEST) {
      const [first, ...others] = targets;
      const lowest = others.reduce((best, one) => (one.priority < best!.priority ? one : best), first);
      lowest?.accept(Delivery.FIXED, vector, level);
    } else for (const target of targets) target.accept(mode, vector, level);
  }

  /** Whether an earlier message like this one still waits to be taken: another one would be lost in it. */
  requested(message: ApicMessage): boolean {
    return this.#addressed(message).some((target) => target.requested(message.vector));
  }
}
