#include "segment/number_condition.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <limits>

namespace segmentd {
namespace {

namespace pb = segments::v1;

pb::NumberCondition Condition(void (*set)(pb::NumberCondition*)) {
  pb::NumberCondition condition;
  set(&condition);
  return condition;
}

int64_t Deciding(void (*set)(pb::NumberCondition*)) {
  return NumberTest::Of(Condition(set)).deciding_count();
}

TEST(NumberTest, EachOperator) {
  const auto holds = [](void (*set)(pb::NumberCondition*), double number) {
    return NumberTest::Of(Condition(set)).holds(number);
  };
  const auto equals = [](pb::NumberCondition* c) { c->set_equals(3); };
  EXPECT_TRUE(holds(equals, 3));
  EXPECT_FALSE(holds(equals, 3.5));
  const auto not_equals = [](pb::NumberCondition* c) { c->set_not_equals(3); };
  EXPECT_FALSE(holds(not_equals, 3));
  EXPECT_TRUE(holds(not_equals, 0));
  const auto greater_than = [](pb::NumberCondition* c) { c->set_greater_than(0); };
  EXPECT_FALSE(holds(greater_than, 0));
  EXPECT_TRUE(holds(greater_than, 0.5));
  const auto at_least = [](pb::NumberCondition* c) { c->set_at_least(-2.5); };
  EXPECT_TRUE(holds(at_least, -2.5));
  EXPECT_FALSE(holds(at_least, -2.6));
  const auto less_than = [](pb::NumberCondition* c) { c->set_less_than(5); };
  EXPECT_TRUE(holds(less_than, 4.9));
  EXPECT_FALSE(holds(less_than, 5));
  const auto at_most = [](pb::NumberCondition* c) { c->set_at_most(5); };
  EXPECT_TRUE(holds(at_most, 5));
  EXPECT_FALSE(holds(at_most, 5.1));
}

TEST(NumberTest, AllMustHold) {
  pb::Aggregate between;
  between.set_property("amount");
  between.set_at_least(2);
  between.set_less_than(4);
  between.set_not_equals(3);
  const NumberTest test = NumberTest::Of(between);
  EXPECT_FALSE(test.empty());
  EXPECT_FALSE(test.holds(1));
  EXPECT_TRUE(test.holds(2));
  EXPECT_FALSE(test.holds(3));
  EXPECT_TRUE(test.holds(3.5));
  EXPECT_FALSE(test.holds(4));
}

TEST(NumberTest, WithoutOperators) {
  pb::Aggregate aggregate;
  aggregate.set_property("amount");
  for (const NumberTest& test :
       {NumberTest(), NumberTest::Of(pb::NumberCondition()), NumberTest::Of(aggregate)}) {
    EXPECT_TRUE(test.empty());
    EXPECT_TRUE(test.holds(-1));
    EXPECT_EQ(test.deciding_count(), 1);
  }
}

TEST(NumberTest, TheLeastCountThatDecides) {
  EXPECT_EQ(Deciding([](auto* c) { c->set_at_least(5); }), 5);
  EXPECT_EQ(Deciding([](auto* c) { c->set_less_than(5); }), 5);
  EXPECT_EQ(Deciding([](auto* c) { c->set_greater_than(5); }), 6);
  EXPECT_EQ(Deciding([](auto* c) { c->set_at_most(5); }), 6);
  EXPECT_EQ(Deciding([](auto* c) { c->set_equals(3); }), 4);
  EXPECT_EQ(Deciding([](auto* c) { c->set_not_equals(3); }), 4);
  EXPECT_EQ(Deciding([](auto* c) { c->set_equals(0); }), 1);
  // Between whole numbers.
  EXPECT_EQ(Deciding([](auto* c) { c->set_at_least(4.5); }), 5);
  EXPECT_EQ(Deciding([](auto* c) { c->set_at_most(4.5); }), 5);
  EXPECT_EQ(Deciding([](auto* c) { c->set_equals(4.5); }), 0);
  // The same for every count.
  EXPECT_EQ(Deciding([](auto* c) { c->set_at_least(0); }), 0);
  EXPECT_EQ(Deciding([](auto* c) { c->set_at_least(-7); }), 0);
  EXPECT_EQ(Deciding([](auto* c) { c->set_less_than(0); }), 0);
  // Several: from the one on that decides last, and not at all when nothing can meet them.
  EXPECT_EQ(Deciding([](auto* c) { c->set_at_least(2), c->set_at_most(9); }), 10);
  EXPECT_EQ(Deciding([](auto* c) { c->set_at_least(2), c->set_not_equals(9); }), 10);
  EXPECT_EQ(Deciding([](auto* c) { c->set_at_least(2), c->set_not_equals(1); }), 2);
  EXPECT_EQ(Deciding([](auto* c) { c->set_at_least(9), c->set_at_most(2); }), 0);
  // Beyond what can be counted.
  EXPECT_EQ(Deciding([](auto* c) { c->set_at_least(1e300); }), 0);
  EXPECT_GE(Deciding([](auto* c) { c->set_at_most(std::numeric_limits<double>::infinity()); }), 0);
}

RC_GTEST_PROP(NumberTest, NoCountPastTheDecidingOneDiffers, ()) {
  const auto operand = [](double* value) {
    if (*rc::gen::inRange(0, 3) != 0) return false;
    *value = *rc::gen::inRange(-4, 40) / 2.0;
    return true;
  };
  pb::NumberCondition condition;
  double value = 0;
  if (operand(&value)) condition.set_equals(value);
  if (operand(&value)) condition.set_not_equals(value);
  if (operand(&value)) condition.set_greater_than(value);
  if (operand(&value)) condition.set_at_least(value);
  if (operand(&value)) condition.set_less_than(value);
  if (operand(&value)) condition.set_at_most(value);
  const NumberTest test = NumberTest::Of(condition);
  RC_PRE(!test.empty());
  const int64_t deciding = test.deciding_count();
  const bool decided = test.holds(1000);
  for (int64_t n = deciding; n < 50; ++n) RC_ASSERT(test.holds(static_cast<double>(n)) == decided);
  // And none less would do.
  if (deciding > 0) RC_ASSERT(test.holds(static_cast<double>(deciding - 1)) != decided);
}

}  // namespace
}  // namespace segmentd
