# Arrays, a pipe to sort, and system(), stopped in the middle.
# SPDX-License-Identifier: Apache-2.0
BEGIN {
    gate = ENVIRON["GATE"]
    for (i = 1; i <= 50000; i++) {
        seed = (seed * 1103 + 12345) % 2147483
        bucket[seed % 1000] += i
        print seed % 97 | "sort -n | uniq -c | head -n 3"
    }
    system(": >" gate ".ready")
    while (system("test -e " gate ".go") != 0)
        system(": >" gate ".alive; sleep 0.02")
    for (i = 0; i < 1000; i++)
        sum = (sum * 31 + bucket[i]) % 1000003
    print "sum", sum
    close("sort -n | uniq -c | head -n 3")
}
