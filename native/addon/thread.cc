#include "thread.h"

#include <signal.h>

#include "../device/kernel_device.h"

namespace nvmm {

Thread::Thread(std::function<void()> body) {
  sigset_t all, previous;
  sigfillset(&all);
  sigdelset(&all, kKickSignal);
  pthread_sigmask(SIG_SETMASK, &all, &previous);
  thread_ = std::thread([body = std::move(body), end = end_]() mutable {
    body();
    body = nullptr;
    std::lock_guard<std::mutex> guard(end->lock);
    end->isReached = true;
    end->reached.notify_one();
  });
  pthread_sigmask(SIG_SETMASK, &previous, nullptr);
}

bool Thread::join(std::chrono::milliseconds patience) {
  std::unique_lock<std::mutex> guard(end_->lock);
  const bool ended = end_->reached.wait_for(guard, patience, [this] { return end_->isReached; });
  guard.unlock();
  if (ended)
    thread_.join();
  else
    thread_.detach();
  return ended;
}

}  // namespace nvmm
