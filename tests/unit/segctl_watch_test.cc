// segctl watch against a server whose feed of changes ends.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"

#include "api/membership_service.h"
#include "state/change_feed.h"
#include "tests/unit/manual_clock.h"
#include "tests/unit/memory_definition_log.h"
#include "tests/unit/memory_queries.h"
#include "tests/unit/segctl_process.h"
#include "tests/unit/segctl_server.h"
#include "tests/unit/uninstrumented.h"

namespace segmentd {
namespace {

using testing::HasSubstr;
using testing::Not;

// Some changes, and then no more.
class EndingFeed final : public ChangeFeed {
 public:
  absl::Status Follow(const std::map<int32_t, int64_t>&,
                      absl::FunctionRef<bool(const segments::v1::MembershipChange&)> change,
                      absl::FunctionRef<bool()>) override {
    for (const char* id : {"my-events-2:81734", "my-events-0:7", "my-events-2:81735"}) {
      segments::v1::MembershipChange next;
      next.set_action(segments::v1::ADD);
      next.set_segment_id("booked");
      next.set_user_id(quiet ? "another" : "ada");
      next.set_change_id(id);
      if (!change(next)) return absl::OkStatus();
    }
    return end;
  }

  // Changes of a user that nobody asks for.
  bool quiet = false;
  absl::Status end = absl::UnavailableError("Socket closed");
};

class SegctlWatch : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_UNDER_THREAD_SANITIZER();
    server_.emplace(service_.handlers());
  }

  // What it says to standard error.
  SegctlResult Said(const std::string& arguments) {
    return Segctl("watch " + arguments + " 2>&1 >/dev/null", server());
  }
  const std::string& server() const { return server_->address(); }

  ManualClock clock_;
  MemoryDefinitionLog log_;
  MemoryQueries queries_;
  EndingFeed feed_;
  const Access access_ = Access::Open();
  MembershipService service_{queries_, log_, feed_, clock_.function(), access_, {}};
  std::optional<SegctlServer> server_;
};

TEST_F(SegctlWatch, SaysWhereToGoOnWhenItEnds) {
  const SegctlResult result = Said("");
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(result.text,
            "segctl: " + server() +
                ": the watch ended, the server went away (Socket closed)\n"
                "Go on after the last change shown with --from 0:8 --from 2:81736; partitions not "
                "named begin with their next change.\n");
}

TEST_F(SegctlWatch, PartitionsWithoutAChangeGoOnWhereTheyBegan) {
  EXPECT_THAT(Said("--from 5:40 --from 0:3").text,
              HasSubstr("with --from 0:8 --from 2:81736 --from 5:40;"));
  feed_.quiet = true;
  EXPECT_THAT(Said("--member ada --from 5:40").text, HasSubstr("with --from 5:40;"));
  const SegctlResult nothing = Said("--member ada");
  EXPECT_EQ(nothing.status, 3);
  EXPECT_THAT(nothing.text, HasSubstr("(Socket closed)\nNo change was shown"));
  EXPECT_THAT(nothing.text, Not(HasSubstr("--from")));
}

TEST_F(SegctlWatch, WhatTheServerRefusesIsNoEnd) {
  feed_.end = absl::OutOfRangeError("change 3 of partition 0 is no longer held");
  const SegctlResult refused = Said("--from 0:3");
  EXPECT_EQ(refused.status, 2);
  EXPECT_EQ(refused.text, "segctl: change 3 of partition 0 is no longer held\n");
  const SegctlResult nobody = Segctl("watch --from 0:3 2>&1");
  EXPECT_EQ(nobody.status, 3);
  EXPECT_THAT(nobody.text, HasSubstr("Is segmentd running there?"));
  EXPECT_THAT(nobody.text, Not(HasSubstr("--from")));
}

}  // namespace
}  // namespace segmentd
