// Made from calc.S by "npm run guests".
const hex =
  '4889f84889f14885c9740d31d248f7f14889c84889d1ebeef4';

/** The program, and the guest-physical address that it was assembled for. */
export const calc = { origin: 0x1000, bytes: Uint8Array.from(Buffer.from(hex, 'hex')) };
