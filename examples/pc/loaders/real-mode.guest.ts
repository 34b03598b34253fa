// Made from real-mode.S by "npm run guests".
const hex =
  '55aa00eb170000000000000000000000000000000000000000000000501e31c08ed8c70664002f008c0e66001f58cbfa' +
  'fc8cc88ed8b800208ec0be620031ff8b0e0700f3a4b800108ec031ff8b0e0500f3a48ed88ee08ee88ed0bcf0ffea0000' +
  '2010';

/** The program, and the guest-physical address that it was assembled for. */
export const realMode = { origin: 0x0, bytes: Uint8Array.from(Buffer.from(hex, 'hex')) };
