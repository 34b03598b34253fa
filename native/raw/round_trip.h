// The floors that `npm run bench:run` holds an asynchronous run against.
#pragma once

#include <napi.h>

namespace nvmm {

// roundTrip(back) -> { thread(), pool(back), close() }: calls back from a bare thread, or from libuv's pool.
Napi::Value roundTrip(const Napi::CallbackInfo& info);

}  // namespace nvmm
