#include "kernels/core/cpu_lane.h"

#include <doctest/doctest.h>

#include <atomic>
#include <barrier>
#include <stdexcept>
#include <thread>
#include <vector>

#include "kernels/core/arena.h"
#include "kernels/core/cpu_device.h"
#include "kernels/core/error.h"
#include "kernels/core/trace.h"

namespace triforce {
namespace {

TEST_CASE("a lane runs its tasks in order, more of them than its queue holds") {
  CpuDevice device(1 << 20);
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "compute", .threads = 2});
  std::vector<int> order;
  for (int i = 0; i < 5000; ++i) AsCpu(*lane).Run("append", [&order, i](Team&) { order.push_back(i); });
  lane->Synchronize();
  REQUIRE(order.size() == 5000);
  for (int i = 0; i < 5000; ++i) REQUIRE(order[i] == i);
}

TEST_CASE("a team takes every item of every loop exactly once") {
  for (int threads : {1, 2, 3, 8}) {
    Team team(threads);
    for (int64_t items : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> taken(items);
      for (int repeat = 0; repeat < 50; ++repeat) {
        team.For(items, [&](Worker& worker, int64_t i) {
          worker.scratch[0] = std::byte{1};
          taken[i].fetch_add(1);
        });
      }
      for (int64_t i = 0; i < items; ++i) REQUIRE(taken[i].load() == 50);
    }
  }
}

TEST_CASE("two lanes overlap: each waits, within one task, for the other") {
  CpuDevice device(1 << 20);
  const std::unique_ptr<Lane> a = device.NewLane({.name = "a", .threads = 2});
  const std::unique_ptr<Lane> b = device.NewLane({.name = "b", .threads = 2});
  std::barrier meet(2);  // with one queue behind both lanes this would never return
  for (Lane* lane : {a.get(), b.get()}) AsCpu(*lane).Run("meet", [&meet](Team&) { meet.arrive_and_wait(); });
  a->Synchronize();
  b->Synchronize();
}

TEST_CASE("an event orders two lanes, and may go before the work that it orders") {
  CpuDevice device(1 << 20);
  const std::unique_ptr<Lane> producer = device.NewLane({.name = "producer"});
  const std::unique_ptr<Lane> consumer = device.NewLane({.name = "consumer"});
  int value = 0;
  for (int i = 1; i <= 1000; ++i) {
    const std::unique_ptr<Event> produced = device.NewEvent();
    const std::unique_ptr<Event> consumed = device.NewEvent();
    AsCpu(*producer).Run("produce", [&value, i](Team&) { value = i; });
    producer->Record(*produced);
    consumer->WaitFor(*produced);
    AsCpu(*consumer).Run("consume", [&value, i](Team&) {
      if (value != i) throw std::logic_error("consumed too early or too late");
    });
    consumer->Record(*consumed);
    producer->WaitFor(*consumed);
  }
  CHECK_NOTHROW(consumer->Synchronize());
  producer->Synchronize();
}

TEST_CASE("a lane on demand: work waits for Synchronize, and begins where an event or a host function is queued") {
  CpuDevice device(1 << 20);
  std::unique_ptr<Lane> lane = device.NewLane({.name = "compute", .threads = 2, .on_demand = true});
  std::thread::id by;
  const auto note = [&by](Team&) { by = std::this_thread::get_id(); };
  for (int i = 0; i < 100; ++i) {
    AsCpu(*lane).Run("note", note);
    lane->Synchronize();
    CHECK(by == std::this_thread::get_id());
  }
  const std::unique_ptr<Event> event = device.NewEvent();
  for (int i = 0; i < 100; ++i) {
    AsCpu(*lane).Run("note", note);
    lane->Record(*event);
    event->Wait();
    CHECK(by != std::this_thread::get_id());
  }
  std::atomic<bool> called{false};
  lane->Call([](void* context) { *static_cast<std::atomic<bool>*>(context) = true; }, &called, "call");
  while (!called) std::this_thread::yield();
  lane->Synchronize();
  // More than the queue holds, behind which nobody waits yet; the rest is done by whoever is first.
  int done = 0;
  for (int i = 0; i < 5000; ++i) AsCpu(*lane).Run("count", [&done](Team&) { ++done; });
  lane->Synchronize();
  CHECK(done == 5000);
  AsCpu(*lane).Run("fail", [](Team&) { throw Error(ErrorKind::kIo, "file", "cut short"); });
  CHECK_THROWS_AS(lane->Synchronize(), Error);
  bool ran = false;
  AsCpu(*lane).Run("last", [&ran](Team&) { ran = true; });
  lane.reset();  // waits for it
  CHECK(ran);
}

TEST_CASE("an event: done before it was ever recorded, then done when its work is") {
  CpuDevice device(1 << 20);
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "lane"});
  const std::unique_ptr<Event> event = device.NewEvent();
  CHECK(event->Done());
  std::atomic<bool> go{false};
  AsCpu(*lane).Run("hold", [&go](Team&) { go.wait(false); });
  lane->Record(*event);
  CHECK_FALSE(event->Done());
  go.store(true);
  go.notify_all();
  event->Wait();
  CHECK(event->Done());
}

TEST_CASE("an error passes over what is queued behind it, completes events and comes out of Synchronize once") {
  CpuDevice device(1 << 20);
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "lane"});
  const std::unique_ptr<Event> event = device.NewEvent();
  bool ran = false;
  AsCpu(*lane).Run("fail", [](Team&) { throw Error(ErrorKind::kIo, "file", "cut short"); });
  AsCpu(*lane).Run("after", [&ran](Team&) { ran = true; });
  lane->Record(*event);
  event->Wait();
  CHECK_THROWS_WITH_AS(lane->Synchronize(), "file: cut short", Error);
  CHECK_FALSE(ran);
  AsCpu(*lane).Run("later", [&ran](Team&) { ran = true; });
  CHECK_NOTHROW(lane->Synchronize());
  CHECK(ran);
}

TEST_CASE("an error reaches the lanes that wait for the failed one's events, and those only") {
  CpuDevice device(1 << 20);
  const std::unique_ptr<Lane> copy = device.NewLane({.name = "copy"});
  const std::unique_ptr<Lane> compute = device.NewLane({.name = "compute"});
  const std::unique_ptr<Lane> other = device.NewLane({.name = "other"});
  const std::unique_ptr<Event> before = device.NewEvent(), after = device.NewEvent();
  copy->Record(*before);
  AsCpu(*copy).Run("fail", [](Team&) { throw Error(ErrorKind::kIo, "file", "cut short"); });
  copy->Record(*after);
  bool ran = false;
  compute->WaitFor(*after);
  AsCpu(*compute).Run("use", [&ran](Team&) { ran = true; });
  other->WaitFor(*before);
  CHECK_THROWS_WITH_AS(compute->Synchronize(), "file: cut short", Error);
  CHECK_FALSE(ran);
  CHECK_NOTHROW(other->Synchronize());
  CHECK_THROWS_AS(copy->Synchronize(), Error);
}

TEST_CASE("a host function runs in order, also behind an error, and its own error comes out") {
  CpuDevice device(1 << 20);
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "lane"});
  int calls = 0;
  const auto count = [](void* context) { ++*static_cast<int*>(context); };
  AsCpu(*lane).Run("before", [&calls](Team&) { calls = 10; });
  lane->Call(count, &calls, "count");
  lane->Synchronize();
  CHECK(calls == 11);
  lane->Call([](void*) { throw Error(ErrorKind::kIo, "disk", "gone"); }, nullptr, "fail");
  lane->Call(count, &calls, "count");
  CHECK_THROWS_WITH_AS(lane->Synchronize(), "disk: gone", Error);
  CHECK(calls == 12);
}

TEST_CASE("a throttled lane copies all the same, in order, and counts what it waits for") {
  CpuDevice device(1 << 20);
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "copy", .copy_gbps = 0.01});
  const std::unique_ptr<Lane> other = device.NewLane({.name = "other"});
  const std::unique_ptr<Event> event = device.NewEvent();
  std::vector<int> from(1000, 7), middle(1000), to(1000);
  lane->Copy(middle.data(), from.data(), 4000, "copy");
  lane->Copy(to.data(), middle.data(), 4000, "copy");
  lane->Record(*event);
  other->WaitFor(*event);
  other->Synchronize();
  CHECK(to == from);
  CHECK(other->waited_ns() > 0);
  CHECK(lane->waited_ns() == 0);
}

TEST_CASE("memory: counted, limited, zeroed, given back") {
  CpuDevice device(10000);
  {
    Buffer first = device.Allocate(6000, "the first");
    CHECK(first.data()[5999] == std::byte{0});
    CHECK(reinterpret_cast<uintptr_t>(first.data()) % 4096 == 0);
    CHECK_THROWS_WITH_AS(device.Allocate(4001, "the second"),
                         doctest::Contains("the second needs 4001 bytes; 4000 of 10000 are available"), Error);
    Buffer second = device.Allocate(4000, "the second");
    CHECK(device.used_bytes() == 10000);
    second = std::move(first);
    CHECK(device.used_bytes() == 6000);
  }
  CHECK(device.used_bytes() == 0);
  CHECK(device.peak_bytes() == 10000);
}

TEST_CASE("an arena measures exactly what it then cuts") {
  CpuDevice device(1 << 20);
  const auto cut = [](Arena& arena) {
    arena.Cut(DType::kF16, {3, 5});
    return arena.Cut(DType::kF32, {7, 64});
  };
  Arena sizes;
  CHECK_FALSE(cut(sizes));
  CHECK(sizes.used_bytes() == 256 + 7 * 64 * 4);
  Arena arena(device, sizes.used_bytes(), "test");
  const TensorView last = cut(arena);
  CHECK(arena.used_bytes() == sizes.used_bytes());
  CHECK(device.used_bytes() == sizes.used_bytes());
  CHECK(reinterpret_cast<uintptr_t>(last.data()) % Arena::kAlignmentBytes == 0);
}

TEST_CASE("a copy runs on its lane and leaves a span in the trace") {
  Trace trace(2);
  CpuDevice device(1 << 20, &trace);
  const std::unique_ptr<Lane> lane = device.NewLane({.name = "copy"});
  const std::vector<int> from{1, 2, 3};
  std::vector<int> to(3);
  for (int i = 0; i < 3; ++i) lane->Copy(to.data(), from.data(), 12, "copy");
  lane->Synchronize();
  CHECK(to == from);
  CHECK(trace.spans() == 2);
  CHECK(trace.dropped_spans() == 1);
}

}  // namespace
}  // namespace triforce
