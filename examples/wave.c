/* A wave on a drum: a plain C program that knows nothing of checkpoints.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: wave STEPS [OUTPUT]    prints the energy every thousand steps; the last state
 *                               of the drum goes to OUTPUT (text)
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SIDE 400

static double now[SIDE][SIDE], before[SIDE][SIDE], next[SIDE][SIDE];

static double energy(void)
{
    double sum = 0;

    for (int y = 1; y < SIDE - 1; y++)
        for (int x = 1; x < SIDE - 1; x++) {
            double v = now[y][x] - before[y][x];
            double dx = now[y][x + 1] - now[y][x], dy = now[y + 1][x] - now[y][x];

            sum += v * v + 0.2 * (dx * dx + dy * dy);
        }
    return sum;
}

static void step(void)
{
    for (int y = 1; y < SIDE - 1; y++)
        for (int x = 1; x < SIDE - 1; x++)
            next[y][x] = 2 * now[y][x] - before[y][x] +
                         0.2 * (now[y - 1][x] + now[y + 1][x] + now[y][x - 1] +
                                now[y][x + 1] - 4 * now[y][x]);
    for (int y = 1; y < SIDE - 1; y++)
        for (int x = 1; x < SIDE - 1; x++) {
            before[y][x] = now[y][x];
            now[y][x] = next[y][x];
        }
}

int main(int argc, char **argv)
{
    long steps = argc > 1 ? atol(argv[1]) : 20000;
    FILE *out = fopen(argc > 2 ? argv[2] : "wave.txt", "w");

    if (!out) {
        perror("wave");
        return 1;
    }
    for (int y = 1; y < SIDE - 1; y++)
        for (int x = 1; x < SIDE - 1; x++)
            now[y][x] = before[y][x] =
                exp(-((x - 120.0) * (x - 120.0) + (y - 170.0) * (y - 170.0)) / 90.0);
    for (long i = 1; i <= steps; i++) {
        step();
        if (i % 1000 == 0)
            printf("step %8ld energy %.12f\n", i, energy());
    }
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            fprintf(out, "%.9e%c", now[y][x], x == SIDE - 1 ? '\n' : ' ');
    return fclose(out) == 0 ? 0 : 1;
}
