// SHA-256 (FIPS 180-4) of messages of many lengths; the first is "abc", whose hash the standard gives.
#include "run.h"

static const u32 constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
static const u32 initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

#define ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))

static void block(u32 *state, const u8 *from) {
  u32 w[64], v[8];
  for (int i = 0; i < 16; i++)
    w[i] = (u32)from[4 * i] << 24 | (u32)from[4 * i + 1] << 16 | (u32)from[4 * i + 2] << 8 | from[4 * i + 3];
  for (int i = 16; i < 64; i++) {
    u32 a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (ROTATE(a, 7) ^ ROTATE(a, 18) ^ a >> 3) + (ROTATE(b, 17) ^ ROTATE(b, 19) ^ b >> 10);
  }
  for (int i = 0; i < 8; i++) v[i] = state[i];
  for (int i = 0; i < 64; i++) {
    u32 e = v[4], a = v[0];
    u32 t1 = v[7] + (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + constants[i] + w[i];
    u32 t2 = (ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
    for (int k = 7; k > 0; k--) v[k] = v[k - 1];
    v[4] += t1;
    v[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) state[i] += v[i];
}

static void hash(const u8 *message, u32 size) {
  u32 state[8];
  u8 last[128] = {0};
  u32 rest = size % 64, blocks = rest < 56 ? 1 : 2;
  for (int i = 0; i < 8; i++) state[i] = initial[i];
  for (u32 i = 0; i < size / 64; i++) block(state, message + 64 * i);
  for (u32 i = 0; i < rest; i++) last[i] = message[size - rest + i];
  last[rest] = 0x80;
  for (u32 i = 0; i < 4; i++) last[64 * blocks - 1 - i] = (u8)(size * 8 >> 8 * i);
  for (u32 i = 0; i < blocks; i++) block(state, last + 64 * i);
  for (int i = 0; i < 8; i++) {
    u8 bytes[4] = {(u8)(state[i] >> 24), (u8)(state[i] >> 16), (u8)(state[i] >> 8), (u8)state[i]};
    put(bytes, 4);
  }
}

static u8 message[2000];

void program(void) {
  message[0] = 'a', message[1] = 'b', message[2] = 'c';
  hash(message, 3);
  u32 seed = 99;
  for (u32 i = 0; i < sizeof message; i++) message[i] = (u8)next(&seed);
  for (u32 size = 0; size < sizeof message; size += 37) hash(message, size);
}
