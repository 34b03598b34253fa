// The second thread of a run: sets `stop` of the comm page from some moment on, and ends a run that lasts too long.
#pragma once

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "../device/raw_device.h"
#include "memory.h"

namespace nvmm {

class Watch {
 public:
  using Milliseconds = std::chrono::milliseconds;

  // Watches what the calling thread runs until this is destroyed. `stop` is an address, or 0 for none.
  Watch(RawDevice& device, uint64_t stop, Milliseconds stopAfter, Milliseconds limit)
      : thread_([=, &device, runner = pthread_self()] { watch(device, runner, stop, stopAfter, limit); }) {}

  ~Watch() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      done_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

 private:
  void watch(RawDevice& device, pthread_t runner, uint64_t stop, Milliseconds stopAfter, Milliseconds limit) {
    const auto start = std::chrono::steady_clock::now();
    std::unique_lock<std::mutex> lock(mutex_);
    const auto endsBy = [&](Milliseconds time) {
      return wake_.wait_until(lock, start + time, [this] { return done_; });
    };
    if (stop && stopAfter < limit) {
      if (endsBy(stopAfter)) return;
      // Once only: a run that ends as STOPPED has seen this store, and cleared it. A second one could come just after
      // that, and look like a flag that the driver has left.
      const int32_t one = 1;
      store(stop, &one, sizeof(one));
    }
    if (endsBy(limit)) return;
    do device.kick(runner);  // again and again: one that comes too early is lost
    while (!wake_.wait_for(lock, Milliseconds(3), [this] { return done_; }));
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  std::thread thread_;  // last, because it uses the others
};

}  // namespace nvmm
