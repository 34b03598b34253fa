// Jumps out of nested calls, calls through pointers, and recursion.
#include "run.h"

static void *buffer[5];
static u32 trace[4000], traced;

static __attribute__((noinline)) void descend(u32 depth, u32 *seed) {
  volatile u32 local = depth;
  trace[traced++ % 4000] = depth;
  if (depth > 40 || next(seed) % 13 == 0) __builtin_longjmp(buffer, 1);
  descend(depth + 1, seed);
  trace[traced++ % 4000] = local;
}

static u32 fibonacci(u32 n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
static u32 ackermann(u32 m, u32 n) {
  return m == 0 ? n + 1 : n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}
static u32 collatz(u32 n) {
  u32 steps = 0;
  for (u64 x = n; x != 1; steps++) x = x % 2 ? 3 * x + 1 : x / 2;
  return steps;
}

static u32 (*const functions[])(u32) = {fibonacci, collatz};

void program(void) {
  static volatile u32 round;
  static u32 seed = 77;
  for (round = 0; round < 50; round = round + 1)
    if (__builtin_setjmp(buffer) == 0) descend(0, &seed);
  put(trace, sizeof trace);
  put(&traced, sizeof traced);
  for (u32 i = 1; i < 20; i++) {
    u32 value = functions[i % 2](i);
    put(&value, sizeof value);
  }
  u32 value = ackermann(2, 30);
  put(&value, sizeof value);
}
