// Requests that may wait in the driver for VCPUs of other processes, without bound and beyond every signal: each has a
// thread of its own, as libuv's pool has four, which files and names need as well.
#pragma once

#include <napi.h>

#include <functional>

namespace nvmm {

// Calls `work` on another thread. The promise is fulfilled with what `result` makes of its errno, in this environment;
// if that ends before, nobody hears of it.
Napi::Value inBackground(Napi::Env env, std::function<int()> work, std::function<Napi::Value(Napi::Env, int)> result);

}  // namespace nvmm
