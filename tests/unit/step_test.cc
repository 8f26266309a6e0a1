#include "stream/step.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace segmentd {
namespace {

// Notes what is called.
class NotedTransactions final : public Transactions {
 public:
  absl::Status begin() override {
    calls.push_back("begin");
    return begin_status;
  }
  absl::Status write(const Write& write) override {
    calls.push_back("write " + std::string(write.key));
    std::string text = write.topic == Write::Topic::kDeadLetters ? "dead letters " : "changes ";
    text += std::to_string(write.partition) + " " + std::string(write.key) + "=" +
            (write.has_value ? std::string(write.value) : "null");
    for (const HeaderView& header : write.headers) {
      text += " " + std::string(header.name) + ":" +
              (header.has_value ? std::string(header.value) : "null");
    }
    written.push_back(text);
    return write_status;
  }
  CommitResult commit(absl::Span<const std::pair<Partition, Offset>> input_offsets,
                      std::string*) override {
    calls.push_back("commit " + std::to_string(input_offsets.size()));
    return result;
  }
  void abort() override { calls.push_back("abort"); }
  absl::Status renew() override { return absl::OkStatus(); }

  std::vector<std::string> calls;
  std::vector<std::string> written;
  absl::Status begin_status;
  absl::Status write_status;
  CommitResult result = CommitResult::kCommitted;
};

using Calls = std::vector<std::string>;

const std::vector<std::pair<Partition, Offset>> kOffsets = {{3, Offset(7)}};

TEST(Step, BeginsWithItsFirstWrite) {
  NotedTransactions transactions;
  Step step(transactions, {});
  EXPECT_TRUE(step.empty());
  step.write({.key = "a", .value = "1"});
  step.write({.key = "b", .value = "22"});
  EXPECT_FALSE(step.empty());
  EXPECT_EQ(step.records(), 2);
  EXPECT_EQ(step.bytes(), 5);
  std::string why;
  EXPECT_EQ(step.commit(kOffsets, &why), CommitResult::kCommitted);
  EXPECT_EQ(transactions.calls, (Calls{"begin", "write a", "write b", "commit 1"}));
  EXPECT_TRUE(step.empty());
  EXPECT_EQ(step.bytes(), 0);
}

TEST(Step, HeldBackKeepsItsWritesWhole) {
  NotedTransactions transactions;
  Step step(transactions, {});
  step.hold();
  {
    // Gone before the release.
    const std::string key = "key";
    const std::vector<HeaderView> headers = {{"name", "value"}, {"empty", ""}, {"null", "", false}};
    step.write({.topic = Write::Topic::kDeadLetters,
                .partition = 3,
                .key = key,
                .value = "v",
                .headers = headers});
    step.write({.key = "gone", .has_value = false});
  }
  EXPECT_TRUE(transactions.calls.empty());
  EXPECT_FALSE(step.empty());
  EXPECT_EQ(step.records(), 2);
  step.release();
  EXPECT_EQ(transactions.calls, (Calls{"begin", "write key", "write gone"}));
  ASSERT_EQ(transactions.written.size(), 2u);
  EXPECT_EQ(transactions.written[0], "dead letters 3 key=v name:value empty: null:null");
  EXPECT_EQ(transactions.written[1], "changes 0 gone=null");
  step.write({.key = "c"});
  std::string why;
  EXPECT_EQ(step.commit(kOffsets, &why), CommitResult::kCommitted);
  EXPECT_EQ(transactions.calls.back(), "commit 1");
}

TEST(Step, HeldBackIsCommittedWhole) {
  NotedTransactions transactions;
  Step step(transactions, {});
  step.hold();
  step.write({.key = "a"});
  std::string why;
  EXPECT_EQ(step.commit(kOffsets, &why), CommitResult::kCommitted);
  EXPECT_EQ(transactions.calls, (Calls{"begin", "write a", "commit 1"}));
  // Dropped, a held step leaves nothing behind.
  step.hold();
  step.write({.key = "b"});
  step.abort();
  step.write({.key = "c"});
  EXPECT_EQ(transactions.calls.back(), "write c");
  EXPECT_EQ(transactions.calls.size(), 5u);
}

TEST(Step, WithoutAWriteCostsNothing) {
  NotedTransactions transactions;
  Step step(transactions, {});
  std::string why;
  EXPECT_EQ(step.commit(kOffsets, &why), CommitResult::kCommitted);
  step.abort();
  EXPECT_TRUE(transactions.calls.empty());
}

TEST(Step, AfterAFailedWriteIsAbortedWhateverFollows) {
  NotedTransactions transactions;
  Step step(transactions, {});
  step.write({.key = "a"});
  transactions.write_status = absl::UnavailableError("queue full");
  step.write({.key = "b"});
  transactions.write_status = absl::OkStatus();
  EXPECT_TRUE(step.full());
  step.write({.key = "c"});
  std::string why;
  EXPECT_EQ(step.commit(kOffsets, &why), CommitResult::kAborted);
  EXPECT_NE(why.find("queue full"), std::string::npos);
  EXPECT_EQ(transactions.calls, (Calls{"begin", "write a", "write b", "abort"}));
}

TEST(Step, ThatCannotBeginIsAborted) {
  NotedTransactions transactions;
  transactions.begin_status = absl::UnavailableError("no broker");
  Step step(transactions, {});
  step.write({.key = "a"});
  EXPECT_FALSE(step.empty());
  std::string why;
  EXPECT_EQ(step.commit(kOffsets, &why), CommitResult::kAborted);
  EXPECT_EQ(transactions.calls, Calls{"begin"});
  EXPECT_TRUE(step.empty());
}

TEST(Step, IsFullAtEitherBound) {
  NotedTransactions transactions;
  Step by_records(transactions, {.records = 2, .bytes = 1'000});
  by_records.write({.key = "a"});
  EXPECT_FALSE(by_records.full());
  by_records.write({.key = "a"});
  EXPECT_TRUE(by_records.full());
  Step by_bytes(transactions, {.records = 100, .bytes = 10});
  by_bytes.write({.key = "a", .value = "123456789"});
  EXPECT_TRUE(by_bytes.full());
}

}  // namespace
}  // namespace segmentd
