// Floating point, in whatever unit the compiler was told to use; long double is the x87's in any case.
#include "run.h"

#define N 24
static double a[N][N], b[N][N], c[N][N];
static float af[N][N], bf[N][N], cf[N][N];

void program(void) {
  u32 seed = 4711;
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      a[i][j] = (double)(int)next(&seed) / 65536.0;
      b[i][j] = (double)next(&seed) / (double)(next(&seed) | 1);
      af[i][j] = (float)a[i][j];
      bf[i][j] = (float)b[i][j];
    }
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      double sum = 0;
      float sumf = 0;
      for (int k = 0; k < N; k++) {
        sum += a[i][k] * b[k][j];
        sumf += af[i][k] * bf[k][j];
      }
      c[i][j] = sum;
      cf[i][j] = sumf;
    }
  put(c, sizeof c);
  put(cf, sizeof cf);

  long double harmonic = 0, product = 1;
  double root = 0;
  long long integers = 0;
  for (int i = 1; i < 2000; i++) {
    harmonic += 1.0L / i;
    product *= 1.0L + 1.0L / ((long double)i * i);
    root += __builtin_sqrt((double)i) - (double)__builtin_sqrtf((float)i);
    integers += (long long)(root * 1e6) + (int)(harmonic * 1000.0L) + (long long)(float)i;
    if ((double)harmonic > root) integers ^= i;
  }
  put(&harmonic, 10);
  put(&product, 10);
  put(&root, sizeof root);
  put(&integers, sizeof integers);

  // Around infinities, NaNs and denormals.
  volatile double zero = 0, tiny = 4.9e-324, huge = 1.7e308;
  volatile float small = 1e-44f;
  double odd[] = {1 / zero, -1 / zero, huge * 10, tiny / 2, tiny * 3, huge - huge, (double)(small / 3)};
  put(odd, sizeof odd);
  int comparisons = 0;
  double nan = zero / zero;
  for (int i = 0; i < 7; i++)
    comparisons = comparisons * 8 + (odd[i] < nan) + 2 * (odd[i] == odd[i]) + 4 * (odd[i] > -1.0);
  put(&comparisons, sizeof comparisons);
}
