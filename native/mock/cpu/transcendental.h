// The x87's transcendental functions, of finite arguments that are not zero, to about 120 bits: what pack() makes of
// them is correctly rounded but for the rarest cases. Where the hardware is known to do something else, so do these.
#pragma once

#include "softfloat.h"

namespace nvmm::cpu {

struct SineCosine {
  Number sine, cosine;
};
// |a| < 2^63. Angles are reduced by a pi of 66 bits, as the hardware does.
SineCosine sineCosine(const Number& a);
Number tangent(const Number& a);
Number arctangent(const Number& y, const Number& x);       // of y / x, in the quadrant of both
enum class Angle { Quarter, Half, ThreeQuarters, Whole };  // of pi
Number partOfPi(Angle angle, bool negative);
Number exponentialMinus1(const Number& a);                   // 2^a - 1, |a| <= 1
Number multiplyLog2(const Number& y, const Number& x);       // y * log2(x), x > 0 and not 1
Number multiplyLog2Plus1(const Number& y, const Number& x);  // y * log2(1 + x), x > -1

}  // namespace nvmm::cpu
