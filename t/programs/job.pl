# Closures, hashes, a child behind a pipe, and a regular expression in progress.
# SPDX-License-Identifier: Apache-2.0
use strict;
use warnings;
use Time::HiRes qw(usleep);

$| = 1;
my $gate = $ENV{GATE};

sub touch { open(my $fh, '>', shift) or die; close($fh) }

my %words;
my $seed = 7;
for my $i (1 .. 50000) {
    $seed = ($seed * 16807) % 2147483647;
    $words{ join '', map { chr(97 + ($seed >> $_) % 26) } 0, 5, 10 } += $i;
}
open(my $to, '|-', 'tr a-z A-Z') or die;
print $to "before the gate\n";
my $before = $$;
touch("$gate.ready");
until (-e "$gate.go") {
    touch("$gate.alive");
    usleep(20000);
}
print $to "after the gate\n";
close($to) or die "tr: $?";
my $sum = 0;
$sum = ($sum * 31 + $words{$_}) % 1000003 for sort keys %words;
print "sum $sum, ", scalar(keys %words), " words, ", ($$ == $before ? "same" : "other"), " pid\n";
my $pid = fork() // die;
exit 3 if $pid == 0;
waitpid($pid, 0);
print "child: ", $? >> 8, "\n";
